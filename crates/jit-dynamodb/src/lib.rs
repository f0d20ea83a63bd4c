//! Remembers in a DynamoDB table that any number of hosts share.
