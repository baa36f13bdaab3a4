"""The record: PostgreSQL tables, the queries on them, locks and transactions."""
