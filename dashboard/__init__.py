"""The leaderboard people look at: Streamlit pages over the store's read-only snapshot.

    serve.py       starts the server: `python -m suite dashboard`
    app.py         Streamlit's entry: navigation, freshness, errors
    pages.py       which pages there are: ours, and those that tasks bring
    source.py      what pages read, kept for as long as the snapshot is the same
    keeper.py      brings the store up to date while somebody looks
    watch.py       where runs stand now: one survey for all sessions
    controls.py    widgets whose values are in the URL
    tables.py      a table with its CSV, Markdown and LaTeX buttons; empty states
    board.py       a board as HTML, with intervals as small charts
    charts.py      how charts look
    palette.py     their colours
    confusions.py  confusions of stored predictions, for the pages classes and run
    class_charts.py  scores by class, as charts
    views/         one file a page; a task's own lies beside the task

No statistic is computed here: pages show what `suite` computes.
"""
