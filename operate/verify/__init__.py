"""`realtime verify`: checks, by acting as clients and backends do, that a deployed stack does what it should.

| module | |
| --- | --- |
| `lines` | the output: one line for each check, and the errors that keep a check from passing |
| `runner` | runs scenes in parallel, each to its end or its deadline, and notes their lines |
| `run` | the stack, and the users, tokens and connections that the scenes have |
| `client` | one connection |
| `bus` | a temporary queue that receives the service's events on the bus |
| `cleanup` | removes what this run made, and what an earlier run left when it was killed |
| `diagnosis` | turns an error or a function's log into advice for a person |
| `setting_up`, `door`, `talking`, `telling`, `presence`, `operation`, `quotas`, `questions` | the scenes |
| `report` | the JSON report, with nothing in it that is secret |
| `command` | all of it, in order |
"""
