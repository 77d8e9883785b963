"""The DynamoDB tables: who is connected, who is online, and what clients are told."""
