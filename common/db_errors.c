/*
 * See db_errors.h.
 *
 * Two rules decide where a number goes.  Anything that may heal by itself is never a halt (a full
 * disk, a fail-over, a full server): consumption waits, and nothing is lost.  Anything that a
 * person has to change is never tried for ever (a missing table or grant, a value that does not
 * fit).
 *
 * A server that has become read-only is DB_LOST, because a new connection may reach the new
 * primary. A COMMIT that failed in a way that leaves its outcome open (1180, 1053) is DB_LOST, too:
 * only a look at the offset can tell.
 */
#include "db_errors.h"

#include <stdlib.h>
#include <string.h>

#define BY_ITSELF      "it is tried again by itself"
#define RECONNECT      "a new connection is made by itself"
#define LOOK_AT_SERVER "look at the database server's error log"
#define DISK_FULL      "make room on the database server's disk; " BY_ITSELF
#define READ_ONLY                                                                                  \
	"the server is read-only: if it is a replica, name the primary in mysql.host; " RECONNECT
#define UNREACHABLE                                                                                \
	"check mysql.host, mysql.port and mysql.socket, and that the server runs; " RECONNECT
#define NETWORK "check the network and the server's error log; " RECONNECT
#define CROWDED "raise max_connections on the server, or run fewer instances; " BY_ITSELF
#define MEMORY  "give the database server more memory; " BY_ITSELF
#define SCHEMA  "the schema is not the one this program knows: run `ledgerd migrate`"
#define GRANT                                                                                      \
	"give mysql.user its rights: GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, DROP, "  \
	"INDEX, REFERENCES, CREATE VIEW, SHOW VIEW, TRIGGER ON its database"
#define LOGIN                                                                                      \
	"check mysql.user and the password (LEDGERD_MYSQL_PASSWORD or mysql.password_file); if "   \
	"the account requires TLS, set mysql.tls_ca"
#define PLUGIN                                                                                     \
	"the client library does not know the account's authentication plugin: give mysql.user "   \
	"another, caching_sha2_password on MySQL, mysql_native_password on MariaDB"
#define REFUSED_PLUGIN                                                                             \
	"the client library lacks the account's authentication plugin, or refuses it without "     \
	"TLS: set mysql.tls_ca, or give mysql.user another: caching_sha2_password or "             \
	"mysql_native_password"
#define UNPROTECTED                                                                                \
	"the server asks for the password itself, without TLS: set mysql.tls_ca, or give "         \
	"mysql.user another way to log in"
#define TLS                                                                                        \
	"mysql.tls_ca must hold the authority that signed the server's certificate, and the "      \
	"certificate must be for mysql.host; " RECONNECT
#define DATA "the row does not fit its table: a bug, or the table was altered; compare it with sql/"
#define BUG  "this is a bug: report it with the message"
#define INFILE                                                                                     \
	"SET GLOBAL local_infile=ON on the server, and in its my.cnf [mysqld] local_infile=ON; a " \
	"proxy that refuses LOCAL INFILE cannot be used"
#define CACHE         "raise max_binlog_cache_size on the server, or lower consumer.batch_max_events"
#define TABLE_DAMAGED "the table is damaged: " LOOK_AT_SERVER

/* Sorted by number. */
static const struct db_error table[] = {
	/* The server's own files and memory. */
	{1, DB_RETRY, DISK_FULL},  /* cannot create a file */
	{3, DB_RETRY, DISK_FULL},  /* error writing a file */
	{20, DB_RETRY, DISK_FULL}, /* disk full, waiting */
	{28, DB_RETRY, DISK_FULL},
	{1015, DB_RETRY, LOOK_AT_SERVER "; " BY_ITSELF}, /* cannot lock a file */
	{1020, DB_RETRY, BY_ITSELF},                     /* record changed since last read */
	{1021, DB_RETRY, DISK_FULL},
	{1024, DB_RETRY, LOOK_AT_SERVER "; " BY_ITSELF}, /* error reading a file */
	{1026, DB_RETRY, DISK_FULL},                     /* error writing a file */
	{1030, DB_RETRY, LOOK_AT_SERVER "; a full disk is the usual reason; " BY_ITSELF},
	{1034, DB_HALT, TABLE_DAMAGED},
	{1036, DB_LOST, READ_ONLY}, /* table is read only */
	{1037, DB_RETRY, MEMORY},
	{1038, DB_RETRY, MEMORY},
	{1040, DB_RETRY, CROWDED},
	{1041, DB_RETRY, MEMORY},
	{1042, DB_RETRY, NETWORK}, /* cannot get the host's name */
	{1043, DB_RETRY, NETWORK}, /* bad handshake */
	{1044, DB_HALT, GRANT},
	{1045, DB_HALT, LOGIN},
	{1046, DB_HALT, "set mysql.database"},
	{1047, DB_RETRY, "the node is not part of its cluster yet; " BY_ITSELF}, /* wsrep */
	{1048, DB_HALT, DATA}, /* column cannot be null */
	{1049, DB_HALT, "create the database of mysql.database, then run `ledgerd migrate`"},
	{1053, DB_LOST, "the server shuts down; " RECONNECT},
	{1054, DB_HALT, SCHEMA}, /* unknown column */
	{1062, DB_HALT, DATA},   /* duplicate key */
	{1064, DB_HALT, BUG},    /* syntax */
	{1067, DB_HALT, DATA},
	{1077, DB_LOST, "the server shuts down; " RECONNECT},
	{1078, DB_LOST, "the server shuts down; " RECONNECT},
	{1079, DB_LOST, "the server shuts down; " RECONNECT},
	{1080, DB_LOST, NETWORK}, /* forced close of a thread */
	{1105, DB_RETRY, LOOK_AT_SERVER "; " BY_ITSELF},
	{1114, DB_RETRY, DISK_FULL}, /* table is full */
	{1129, DB_RETRY, "FLUSH HOSTS on the server: it blocks this host after too many errors"},
	{1130, DB_HALT, "the server does not let this host in: CREATE USER for it"},
	{1135, DB_RETRY, MEMORY}, /* cannot create a thread */
	{1136, DB_HALT, SCHEMA},  /* column count */
	{1142, DB_HALT, GRANT},
	{1143, DB_HALT, GRANT},
	{1146, DB_HALT, SCHEMA}, /* no such table */
	{1148, DB_HALT, INFILE},
	{1152, DB_LOST, NETWORK},
	{1153, DB_HALT, "raise max_allowed_packet on the server to 64M, as the client's"},
	{1154, DB_LOST, NETWORK},
	{1155, DB_LOST, NETWORK},
	{1156, DB_LOST, NETWORK},
	{1157, DB_LOST, NETWORK},
	{1158, DB_LOST, NETWORK},
	{1159, DB_LOST, NETWORK},
	{1160, DB_LOST, NETWORK},
	{1161, DB_LOST, NETWORK},
	{1180, DB_LOST, LOOK_AT_SERVER "; " RECONNECT}, /* error during COMMIT */
	{1181, DB_LOST, LOOK_AT_SERVER "; " RECONNECT}, /* error during ROLLBACK */
	{1184, DB_LOST, NETWORK},
	{1193, DB_HALT, "the server is too old or no MySQL: use MySQL 8.0 or MariaDB 10.11"},
	{1194, DB_HALT, TABLE_DAMAGED},
	{1195, DB_HALT, TABLE_DAMAGED},
	{1197, DB_HALT, CACHE},
	{1203, DB_RETRY, "raise max_user_connections for mysql.user; " BY_ITSELF},
	{1205, DB_RETRY, BY_ITSELF}, /* lock wait timeout */
	{1206, DB_RETRY,
		"raise innodb_buffer_pool_size on the server; " BY_ITSELF}, /* lock table */
	{1213, DB_RETRY, BY_ITSELF},                                        /* deadlock */
	{1226, DB_RETRY, "raise the limits of the account of mysql.user; " BY_ITSELF},
	{1227, DB_HALT, GRANT},
	{1231, DB_HALT,
		"the server does not take a session setting: use MySQL 8.0 or MariaDB 10.11"},
	{1251, DB_HALT, PLUGIN},
	{1261, DB_HALT, DATA}, /* too few columns */
	{1262, DB_HALT, DATA}, /* too many columns */
	{1264, DB_HALT, DATA}, /* out of range */
	{1265, DB_HALT, DATA}, /* truncated, or no such enum value */
	{1275, DB_HALT, PLUGIN},
	{1290, DB_LOST, READ_ONLY},
	{1292, DB_HALT, DATA}, /* bad date */
	{1317, DB_RETRY, "somebody killed the statement; " BY_ITSELF},
	{1356, DB_HALT, SCHEMA},     /* view refers to what is not there */
	{1364, DB_HALT, DATA},       /* column without a default */
	{1366, DB_HALT, DATA},       /* bad number, or bytes that are not the column's text */
	{1406, DB_HALT, DATA},       /* too long */
	{1412, DB_RETRY, BY_ITSELF}, /* table definition has changed */
	{1419, DB_HALT, "no triggers and functions belong to this schema: drop them"},
	{1442, DB_HALT, "drop the triggers on the tables of ledgerd"},
	{1451, DB_HALT, "drop the foreign keys to and from the tables of ledgerd"},
	{1452, DB_HALT, "drop the foreign keys to and from the tables of ledgerd"},
	{1524, DB_HALT, PLUGIN},
	{1598, DB_HALT, "set binlog_format=ROW on the server"},
	{1614, DB_RETRY, BY_ITSELF}, /* deadlock, XA */
	{1615, DB_RETRY, BY_ITSELF}, /* needs to be prepared again */
	{1637, DB_RETRY, "too many transactions at once on the server; " BY_ITSELF},
	{1665, DB_HALT, "set binlog_format=ROW on the server"},
	{1698, DB_HALT, LOGIN},
	{1705, DB_HALT, CACHE},
	{1712, DB_HALT, TABLE_DAMAGED}, /* index corrupt */
	{1792, DB_LOST, READ_ONLY},
	{1812, DB_HALT, TABLE_DAMAGED}, /* tablespace missing */
	{1813, DB_HALT, TABLE_DAMAGED},
	{1814, DB_HALT, TABLE_DAMAGED},
	{1815, DB_HALT, LOOK_AT_SERVER}, /* internal error */
	{1820, DB_HALT, "the password of mysql.user has to be changed: ALTER USER"},
	{1835, DB_LOST, NETWORK}, /* malformed packet */
	{1836, DB_LOST, READ_ONLY},
	{1862, DB_HALT, "the password of mysql.user has expired: ALTER USER"},
	{1874, DB_LOST, READ_ONLY},
	{1877, DB_HALT, TABLE_DAMAGED},
	{1927, DB_LOST, "somebody killed the connection; " RECONNECT},          /* MariaDB */
	{1969, DB_RETRY, "raise max_statement_time on the server; " BY_ITSELF}, /* MariaDB */

	/* Client libraries. */
	{2000, DB_LOST, NETWORK},
	{2001, DB_LOST, NETWORK},
	{2002, DB_LOST, UNREACHABLE},
	{2003, DB_LOST, UNREACHABLE},
	{2004, DB_LOST, NETWORK},
	{2005, DB_LOST, "the name in mysql.host is not known to the name servers; " RECONNECT},
	{2006, DB_LOST, NETWORK},
	{2007, DB_HALT,
		"what listens at mysql.host and mysql.port does not speak MySQL's protocol"},
	{2008, DB_LOST, "give this process more memory; " RECONNECT},
	{2012, DB_LOST, NETWORK},
	{2013, DB_LOST, NETWORK},
	{2014, DB_LOST, BUG}, /* commands out of sync */
	{2019, DB_HALT, "the client library has no character set utf8mb4: reinstall it"},
	{2020, DB_HALT, "raise max_allowed_packet on the server to 64M, as the client's"},
	{2026, DB_LOST, TLS},
	{2027, DB_LOST, NETWORK}, /* malformed packet */
	{2049, DB_HALT, PLUGIN},
	{2054, DB_HALT, BUG},
	{2055, DB_LOST, NETWORK},
	{2058, DB_HALT, PLUGIN}, /* MariaDB's client */
	{2059, DB_HALT, REFUSED_PLUGIN},
	{2061, DB_HALT, LOGIN ": the account's plugin refused"},
	{2068, DB_HALT, "the server asked for a file that was not offered: do not trust it"},

	/* MySQL. */
	{3024, DB_RETRY, "raise max_execution_time on the server; " BY_ITSELF},
	{3032, DB_LOST, "the server is in offline mode; " RECONNECT},
	{3100, DB_LOST, LOOK_AT_SERVER "; " RECONNECT}, /* group replication, at COMMIT */
	{3101, DB_RETRY, BY_ITSELF},                    /* rolled back during COMMIT */
	{3118, DB_HALT, "ALTER USER ... ACCOUNT UNLOCK for mysql.user"},
	{3159, DB_HALT, "the server demands TLS: set mysql.tls_ca"},
	{3168, DB_LOST, LOOK_AT_SERVER "; " RECONNECT}, /* server is not available */
	{3169, DB_LOST, "somebody killed the connection; " RECONNECT},
	{3572, DB_RETRY, BY_ITSELF}, /* NOWAIT, and locked */
	{3750, DB_HALT, SCHEMA},     /* table without a primary key */
	{3797, DB_RETRY, BY_ITSELF}, /* group replication: not consistent yet */
	{3798, DB_RETRY, BY_ITSELF},
	{3819, DB_HALT, DATA}, /* check constraint */
	{3948, DB_HALT, INFILE},
	{3955, DB_HALT, "wait or ALTER USER ... ACCOUNT UNLOCK: too many wrong passwords"},

	/* MariaDB, and MySQL from 4031 on. */
	{4025, DB_HALT, DATA}, /* check constraint */
	{4031, DB_LOST, "the connection was idle for longer than wait_timeout; " RECONNECT},
	{4151, DB_HALT, "ALTER USER ... ACCOUNT UNLOCK for mysql.user"},
	{4166, DB_HALT, INFILE},
	{5010, DB_HALT, UNPROTECTED},
	{5012, DB_HALT, PLUGIN},

	/* ProxySQL. */
	{9001, DB_LOST, "the proxy does not reach a database server; " RECONNECT},
	{9002, DB_LOST, "the proxy does not reach a database server; " RECONNECT},
};

static int compare(const void *key, const void *row)
{
	unsigned number = *(const unsigned *)key;
	const struct db_error *error = row;

	return number < error->number ? -1 : number > error->number;
}

const struct db_error *db_errors_find(unsigned number)
{
	return bsearch(&number, table, sizeof(table) / sizeof(table[0]), sizeof(table[0]), compare);
}

const struct db_error *db_errors_table(size_t *ret_count)
{
	*ret_count = sizeof(table) / sizeof(table[0]);
	return table;
}

/* Oracle's and MariaDB's ranges of client errors. */
static int is_client_error(unsigned number)
{
	return (number >= 2000 && number <= 2999) || (number >= 5000 && number <= 5999);
}

enum db_result db_errors_result(unsigned number, const char *sqlstate)
{
	const struct db_error *error = db_errors_find(number);

	if (error)
		return error->result;
	if (is_client_error(number) || strncmp(sqlstate, "08", 2) == 0)
		return DB_LOST;
	if (strncmp(sqlstate, "40", 2) == 0)
		return DB_RETRY;
	return DB_HALT;
}

const char *db_errors_remedy(unsigned number, const char *sqlstate)
{
	const struct db_error *error = db_errors_find(number);

	if (error)
		return error->remedy;
	switch (db_errors_result(number, sqlstate)) {
	case DB_LOST:
		return RECONNECT;
	case DB_RETRY:
		return BY_ITSELF;
	default:
		return "this error is not known to ledgerd: look it up in the server's manual";
	}
}

const char *db_errors_text(enum db_result result)
{
	static const char *const texts[] = {"ok", "retry", "lost", "halt"};

	return texts[result];
}
