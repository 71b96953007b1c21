"""The parts of deploy/stack. The way in is the class Stack of stack.py, beside this folder.

    process.py     one process: started, recorded, recognised again, signalled
    ports.py       who listens on a port
    service.py     what the three servers have in common: start, stop, kill, pause, wait, log
    kafka.py       Apache Kafka, one node        kafka_wire.py  the five requests we send to it
    mysql.py       MariaDB
    redis.py       Redis
    cli.py         the command line

Only Python's standard library is used, so that the quick start needs nothing else.
"""
