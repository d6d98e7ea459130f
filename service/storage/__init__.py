"""Storage: what the service asks of it (``ports.py``), and what implements that.

ports.py     the interfaces, with what each promises      files/       files and SQLite in the data folder
backends.py  one implementation of each, as settings say
"""
