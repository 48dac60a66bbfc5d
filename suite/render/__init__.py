"""One set of formats for every table and board: terminal, CSV, Markdown, LaTeX, HTML, Parquet."""
