"""The command lines: one module each, called by a script in ``tools/`` and a console command.

A module parses its arguments (those shared by several commands are in :mod:`nucdet.arguments`),
then imports the rest of nucdet and calls one function of it.
"""
