"""Removing what nobody needs: leftovers of killed processes, superseded weights, superseded attempts.

What may go is looked up first (`survey`), and looked at again under the run's lock before it goes
(`removal`). A kill at any instant leaves every attempt either whole or gone: its folder is renamed to a
name that means nothing (`.<k>.<host>.<pid>.tmp`, a leftover like any other) before it is emptied.
"""
