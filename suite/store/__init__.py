"""DuckDB, built from the record files by one ingester; readers open a snapshot."""
