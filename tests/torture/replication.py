"""What a server is told to become a replica, and a primary again.

MySQL no longer knows the words that it once had in common with MariaDB. Both classes offer the
same: statements, `options` for the server's configuration, and `own_files`: those of the data that a copy
must not have.
"""

import subprocess

USER = "replication"
GRANT = f"CREATE USER IF NOT EXISTS {USER}@'%' IDENTIFIED BY 'replication'; " \
        f"GRANT REPLICATION SLAVE ON *.* TO {USER}@'%'"


class MariaDB:
    options = {"skip-slave-start": "ON", "slave-net-timeout": 5}
    own_files = ()
    follow = f"CHANGE MASTER TO master_host='127.0.0.1', master_port={{port}}, " \
             f"master_user='{USER}', master_password='replication', master_connect_retry=1, " \
             "master_log_file='binlog.000001', master_log_pos=4; START SLAVE"
    stop = "STOP SLAVE {thread}_THREAD"
    promote = "STOP SLAVE; RESET SLAVE ALL; RESET MASTER"
    status = "SHOW ALL SLAVES STATUS"


class MySQL:
    """With GTIDs and several appliers, as it does by itself. Its passwords need TLS or the server's
    public key."""

    options = {"skip-replica-start": "ON", "replica-net-timeout": 5}
    own_files = ("auto.cnf",)  # the server's id
    follow = f"CHANGE REPLICATION SOURCE TO source_host='127.0.0.1', source_port={{port}}, " \
             f"source_user='{USER}', source_password='replication', source_connect_retry=1, " \
             "source_auto_position=0, source_log_file='binlog.000001', source_log_pos=4, " \
             "get_source_public_key=1; START REPLICA"
    stop = "STOP REPLICA {thread}_THREAD"
    promote = "STOP REPLICA; RESET REPLICA ALL; RESET BINARY LOGS AND GTIDS"
    status = "SHOW REPLICA STATUS"


def words_of(mysql):
    """For a server of a stack."""
    return {"MariaDB": MariaDB, "MySQL": MySQL}[mysql.server.title]


def follow(primary, replica):
    """The replica has the data with which the primary began its first binary log. From its first
    byte on, as the clients may have written before anybody can ask where it is."""
    primary.sql(GRANT)
    replica.sql(words_of(replica).follow.format(port=primary.port))


def errors(replica):
    """Why it stopped by itself; nothing if it did not."""
    said = subprocess.run([*replica.tool(), "--vertical", "--execute", words_of(replica).status],
                          capture_output=True, text=True, check=True).stdout
    found = [line.partition(": ")[2] for line in said.splitlines() if "Last_SQL_Error: " in line]
    assert found, said
    return list(filter(None, found))
