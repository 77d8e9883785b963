"""What an operator does with a stack, on this machine or in an account: the command `realtime`."""
