"""Storage: what the service asks of it (``ports/``), and what implements that.

ports/       the interfaces, with what each promises      files/       files and SQLite in the data folder
backends.py  one implementation of each, as settings say
"""
