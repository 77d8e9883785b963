"""`realtime verify`: checks a deployed stack by acting as its clients and backends do.

| module | |
| --- | --- |
| `lines` | what a person reads: one line a check, and what keeps a check from passing |
| `runner` | plays scenes side by side, each to its end or its deadline, and notes their lines |
| `run` | the stack, and the users, tokens and connections that the scenes have |
| `client` | one connection |
| `bus` | a temporary queue that hears what the service tells the bus |
| `cleanup` | takes away what verify made, this time or at a time when it was killed |
| `diagnosis` | from an error or a function's log to what a person should do |
| `setting_up`, `door`, `talking`, `telling`, `presence`, `operation`, `quotas`, `questions` | the scenes |
| `report` | the JSON report, with nothing in it that is secret |
| `command` | all of it, in order |
"""
