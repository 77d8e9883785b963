"""The command `realtime`, with which an operator works on a stack on this machine or in an AWS account."""
