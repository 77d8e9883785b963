"""What the service does with ten thousand to ten million connections, on paper: simulated in seconds, without AWS.

Read in this order: quotas (AWS's limits), design (our figures and levers), flow (how work waits for a quota), storms
(clients that connect), fanout (messages that go out), demand (what a workload needs of each quota), cells (several
stacks), report (all of it in tables).
"""
