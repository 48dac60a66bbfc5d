import streamlit as st

from dashboard import source

TITLE, ICON = "Toy", ":material/toys:"


def page():
    st.title(TITLE)
    st.write(source.task("toy").question)
