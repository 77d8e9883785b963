"""The command `realtime top`: what a stack does now. `measures` and `state` read it, `frame` draws it."""
