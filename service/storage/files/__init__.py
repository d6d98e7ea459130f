"""Storage in the data folder of one machine: files for streams and uploads, SQLite for jobs and the outbox."""
