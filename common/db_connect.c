/*
 * The connection of db.h: opened, set up, interrupted, closed.
 *
 * What differs between MariaDB's Connector/C and Oracle's libmysqlclient (my_bool, TLS, the socket,
 * logging in) is in the section "two libraries" and nowhere else.
 *
 * Interrupting: another thread shuts the socket down, so that the library's read or write ends.  It
 * does so on a duplicate of the descriptor, which only this file closes, under db->lock: the
 * library closes its own whenever it likes, and its number may be another file's by then.
 *
 * A half-open connection is noticed by TCP keepalive and by the io timeout; a client that is
 * stopped inside a transaction by the server, by idle_timeout and net_timeout.
 */
#include "db_private.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <errmsg.h>

#include "db_errors.h"
#include "mem.h"

#define PACKET_BYTES_MAX (64ul * 1024 * 1024)
#define LOG_IN_POLL_MS   10

/* As the libraries want it. */
struct address {
	const char *host;
	const char *socket;   /* or NULL */
	const char *database; /* or NULL */
	unsigned port;
};

/* Two libraries ------------------------------------------------------------------------------- */

static enum db_result make_handle(struct db *db, const char *purpose, struct error *err);

static enum db_result log_in_blocking(
	struct db *db, const struct address *to, const char *purpose, struct error *err)
{
	const struct db_options *options = &db->options;
	enum db_result result = make_handle(db, purpose, err);

	if (result != DB_OK)
		return result;
	if (!mysql_real_connect(db->mysql, to->host, options->user, options->password, to->database,
		    to->port, to->socket, CLIENT_FOUND_ROWS))
		return db_failed(db, purpose, err);
	return DB_OK;
}

#ifdef LIBMARIADB
typedef my_bool db_bool;

/* The ways to log in that do not hand the password over as it is: others need an encrypted
 * connection, or anybody who answers at the server's address could ask for it. */
static const char hashing_methods[] = "mysql_native_password,caching_sha2_password,sha256_password,"
				      "client_ed25519,parsec,auth_gssapi_client";

static void set_tls(MYSQL *mysql, const struct db_options *options)
{
	db_bool enforce = options->tls_ca[0] != '\0';
	db_bool verify = enforce && options->tls_verify;

	mysql_options(mysql, MYSQL_OPT_SSL_ENFORCE, &enforce);
	mysql_options(mysql, MYSQL_OPT_SSL_VERIFY_SERVER_CERT, &verify);
	if (verify)
		mysql_options(mysql, MYSQL_OPT_SSL_CA, options->tls_ca);
	if (!enforce && !options->socket[0])
		mysql_options(mysql, MARIADB_OPT_RESTRICTED_AUTH, hashing_methods);
}

static int socket_of(MYSQL *mysql)
{
	return mysql_get_socket(mysql);
}

static enum db_result log_in(
	struct db *db, const struct address *to, const char *purpose, struct error *err)
{
	return log_in_blocking(db, to, purpose, err);
}
#else
typedef bool db_bool;

static void set_tls(MYSQL *mysql, const struct db_options *options)
{
	bool encrypted = options->tls_ca[0] != '\0';
	unsigned mode = !encrypted            ? SSL_MODE_PREFERRED
			: options->tls_verify ? SSL_MODE_VERIFY_IDENTITY
					      : SSL_MODE_REQUIRED;
	/* As above: the password as it is, where nobody listens.  This library never sends it else.
	 */
	bool protected = encrypted || options->socket[0];

	mysql_options(mysql, MYSQL_ENABLE_CLEARTEXT_PLUGIN, &protected);
	mysql_options(mysql, MYSQL_OPT_SSL_MODE, &mode);
	if (mode == SSL_MODE_VERIFY_IDENTITY)
		mysql_options(mysql, MYSQL_OPT_SSL_CA, options->tls_ca);
}

static int socket_of(MYSQL *mysql)
{
	return mysql->net.fd;
}

static enum db_result no_answer(struct db *db, const char *purpose, struct error *err)
{
	db_disconnect(db);
	db->number = CR_SERVER_LOST;
	error_set(err, -ETIMEDOUT, "%s: no answer within %lld ms; %s", purpose,
		(long long)db->options.connect_timeout_ms, db_errors_remedy(db->number, "HY000"));
	return DB_LOST;
}

/* The first statement makes the socket a blocking one again, and TLS would then wait in read(2),
 * without the library's time-outs.  A read or write that returns soon is continued by the library
 * with poll(2), which has them. */
static void keep_timeouts(MYSQL *mysql)
{
	struct timeval soon = {.tv_usec = 1000};

	setsockopt(socket_of(mysql), SOL_SOCKET, SO_RCVTIMEO, &soon, sizeof(soon));
	setsockopt(socket_of(mysql), SOL_SOCKET, SO_SNDTIMEO, &soon, sizeof(soon));
}

/* The blocking call has no time-out while it sets TLS up.  This one tries only the first address of
 * a name. */
static enum db_result log_in_once(
	struct db *db, const struct address *to, const char *purpose, struct error *err)
{
	const struct db_options *options = &db->options;
	int64_t begin_ms = db_now_ms(), most_ms = options->connect_timeout_ms;
	enum db_result result = make_handle(db, purpose, err);
	enum net_async_status status;
	MYSQL *mysql = db->mysql;

	if (result != DB_OK)
		return result;
	while ((status = mysql_real_connect_nonblocking(mysql, to->host, options->user,
			options->password, to->database, to->port, to->socket,
			CLIENT_FOUND_ROWS)) == NET_ASYNC_NOT_READY) {
		struct pollfd answer = {
			.fd = mysql->net.vio ? mysql->net.fd : -1, .events = POLLIN};

		if (db_is_interrupted(db))
			return db_given_up(db, purpose, err);
		if (most_ms > 0 && db_now_ms() - begin_ms >= most_ms)
			return no_answer(db, purpose, err);
		poll(&answer, 1, LOG_IN_POLL_MS);
	}
	if (status != NET_ASYNC_COMPLETE)
		return db_failed(db, purpose, err);
	keep_timeouts(mysql);
	return DB_OK;
}

/* One address after the other, connect_timeout_ms for each. */
static enum db_result log_in_by_number(struct db *db, const struct address *to,
	const struct addrinfo *list, const char *purpose, struct error *err)
{
	enum db_result result = DB_LOST;
	struct address one = *to;
	char host[NI_MAXHOST];

	for (const struct addrinfo *at = list; at; at = at->ai_next) {
		int status = getnameinfo(
			at->ai_addr, at->ai_addrlen, host, sizeof(host), NULL, 0, NI_NUMERICHOST);

		one.host = status == 0 ? host : to->host;
		result = log_in_once(db, &one, purpose, err);
		if (result != DB_LOST || db_is_interrupted(db))
			break;
	}
	return result;
}

/* A certificate is for a name, so the library has to know it.  Where the first address refuses, the
 * blocking call tries the others, as nothing else does. */
static enum db_result log_in_by_name(struct db *db, const struct address *to,
	const struct addrinfo *list, const char *purpose, struct error *err)
{
	enum db_result result = log_in_once(db, to, purpose, err);
	bool refused = result == DB_LOST && db->number == CR_CONN_HOST_ERROR;

	return refused && list->ai_next ? log_in_blocking(db, to, purpose, err) : result;
}

static enum db_result log_in(
	struct db *db, const struct address *to, const char *purpose, struct error *err)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list = NULL;
	bool checked = db->options.tls_ca[0] && db->options.tls_verify;
	enum db_result result;

	if (to->socket || getaddrinfo(to->host, NULL, &hints, &list) != 0)
		return log_in_once(db, to, purpose, err);
	if (checked)
		result = log_in_by_name(db, to, list, purpose, err);
	else
		result = log_in_by_number(db, to, list, purpose, err);
	freeaddrinfo(list);
	return result;
}
#endif

static void start_library(void)
{
	if (mysql_library_init(0, NULL, NULL) != 0) {
		fputs("the MySQL client library does not start\n", stderr);
		abort();
	}
}

void db_thread_end(void)
{
	mysql_thread_end();
}

/* Connecting ---------------------------------------------------------------------------------- */

void db_options_set_lease(struct db_options *options, int64_t ttl_ms)
{
	int64_t silence_ms = ttl_ms * 6 / 10 / 1000 * 1000;
	int64_t login_ms = ttl_ms / 3 > 1000 ? ttl_ms / 3 : 1000;

	options->idle_timeout_ms = silence_ms > 1000 ? silence_ms : 1000;
	options->net_timeout_ms = options->idle_timeout_ms;
	options->lock_timeout_ms = 1000;
	options->io_timeout_ms = 3 * ttl_ms;
	if (!options->connect_timeout_ms || options->connect_timeout_ms > login_ms)
		options->connect_timeout_ms = login_ms;
}

struct db *db_create(const struct db_options *options)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	struct db *db = xcalloc(1, sizeof(*db));

	pthread_once(&once, start_library);
	db->options = *options;
	db->options.host = xstrdup(options->host);
	db->options.socket = xstrdup(options->socket);
	db->options.user = xstrdup(options->user);
	db->options.password = xstrdup(options->password);
	db->options.database = xstrdup(options->database);
	db->options.tls_ca = xstrdup(options->tls_ca);
	sql_init(&db->text);
	pthread_mutex_init(&db->lock, NULL);
	db->socket = -1;
	return db;
}

void db_destroy(struct db *db)
{
	if (!db)
		return;
	db_disconnect(db);
	pthread_mutex_destroy(&db->lock);
	sql_finish(&db->text);
	free((char *)db->options.host);
	free((char *)db->options.socket);
	free((char *)db->options.user);
	explicit_bzero((char *)db->options.password, strlen(db->options.password));
	free((char *)db->options.password);
	free((char *)db->options.database);
	free((char *)db->options.tls_ca);
	free(db);
}

/* What db_interrupt shuts down; at once, if it came first. */
static enum db_result lend_socket(struct db *db, const char *purpose, struct error *err)
{
	int fd = fcntl(socket_of(db->mysql), F_DUPFD_CLOEXEC, 0);

	if (fd < 0) {
		db->number = 0;
		error_set(err, -errno, "%s: %s; raise the limit of open files", purpose,
			strerror(errno));
		return DB_LOST;
	}
	pthread_mutex_lock(&db->lock);
	db->socket = fd;
	if (db->interrupted)
		shutdown(fd, SHUT_RDWR);
	pthread_mutex_unlock(&db->lock);
	return DB_OK;
}

static void take_socket_back(struct db *db)
{
	pthread_mutex_lock(&db->lock);
	if (db->socket >= 0)
		close(db->socket);
	db->socket = -1;
	pthread_mutex_unlock(&db->lock);
}

bool db_is_interrupted(struct db *db)
{
	bool interrupted;

	pthread_mutex_lock(&db->lock);
	interrupted = db->interrupted;
	pthread_mutex_unlock(&db->lock);
	return interrupted;
}

void db_interrupt(struct db *db)
{
	pthread_mutex_lock(&db->lock);
	db->interrupted = true;
	if (db->socket >= 0)
		shutdown(db->socket, SHUT_RDWR);
	pthread_mutex_unlock(&db->lock);
}

void db_disconnect(struct db *db)
{
	if (db->result)
		mysql_free_result(db->result);
	if (db->mysql)
		mysql_close(db->mysql);
	take_socket_back(db);
	db->result = NULL;
	db->row = NULL;
	db->mysql = NULL;
	db->load.refused[0] = '\0';
}

bool db_connected(const struct db *db)
{
	return db->mysql != NULL;
}

/* Whole seconds, at least one. */
static unsigned seconds(int64_t ms)
{
	return (unsigned)((ms + 999) / 1000);
}

static void set_timeout(MYSQL *mysql, enum mysql_option option, int64_t ms)
{
	unsigned timeout_s = seconds(ms);

	if (ms > 0)
		mysql_options(mysql, option, &timeout_s);
}

static void set_options(struct db *db)
{
	const struct db_options *options = &db->options;
	unsigned local_infile = options->local_infile;
	unsigned tcp = MYSQL_PROTOCOL_TCP;
	unsigned long packet_bytes = PACKET_BYTES_MAX;

	db_serve_load(db);
	mysql_options(db->mysql, MYSQL_OPT_LOCAL_INFILE, &local_infile);
	mysql_options(db->mysql, MYSQL_OPT_MAX_ALLOWED_PACKET, &packet_bytes);
	mysql_options(db->mysql, MYSQL_SET_CHARSET_NAME, "utf8mb4");
	if (!options->socket[0]) /* "localhost" would mean some socket otherwise */
		mysql_options(db->mysql, MYSQL_OPT_PROTOCOL, &tcp);
	set_timeout(db->mysql, MYSQL_OPT_CONNECT_TIMEOUT, options->connect_timeout_ms);
	set_timeout(db->mysql, MYSQL_OPT_READ_TIMEOUT, options->io_timeout_ms);
	set_timeout(db->mysql, MYSQL_OPT_WRITE_TIMEOUT, options->io_timeout_ms);
	set_tls(db->mysql, options);
}

static enum db_result make_handle(struct db *db, const char *purpose, struct error *err)
{
	db->mysql = mysql_init(NULL);
	if (!db->mysql)
		return db_refuse(db, err, "%s: out of memory", purpose);
	set_options(db);
	return DB_OK;
}

/* The kernel asks a silent peer whether it is there; a statement may take as long as it needs. */
static void set_keepalive(struct db *db)
{
	int fd = socket_of(db->mysql);
	int on = 1, idle_s = 5, interval_s = 2, count = 3;
	unsigned unacknowledged_ms = 10000;

	if (db->options.socket[0])
		return;
	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof(idle_s));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval_s, sizeof(interval_s));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof(count));
	setsockopt(
		fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &unacknowledged_ms, sizeof(unacknowledged_ms));
}

static enum db_result open_connection(struct db *db, const char *purpose, struct error *err)
{
	const struct db_options *options = &db->options;
	bool local = options->socket[0] != '\0';
	struct address to = {
		.host = local ? "localhost" : options->host,
		.socket = local ? options->socket : NULL,
		.database = options->database[0] ? options->database : NULL,
		.port = (unsigned)options->port,
	};
	enum db_result result = log_in(db, &to, purpose, err);

	if (result != DB_OK)
		return result;
	if (options->tls_ca[0] && !mysql_get_ssl_cipher(db->mysql)) /* Connector/C lets it pass */
		return db_refuse(db, err,
			"%s: the server does not offer TLS; set it up there, or leave mysql.tls_ca "
			"empty",
			purpose);
	set_keepalive(db);
	return lend_socket(db, purpose, err);
}

static void add_timeout(struct sql *q, const char *text, int64_t ms)
{
	if (ms > 0)
		sql_build(q, text, &SQL_INT(seconds(ms)), 1);
}

/* NO_BACKSLASH_ESCAPES and unique_checks=0 would change what a LOAD DATA means. */
static enum db_result set_session(struct db *db, const char *purpose, struct error *err)
{
	const struct db_options *options = &db->options;
	enum db_result result;
	struct sql q;

	sql_init(&q);
	sql_add(&q, "SET SESSION sql_mode = 'STRICT_ALL_TABLES,STRICT_TRANS_TABLES,"
		    "ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION', unique_checks = 1, "
		    "foreign_key_checks = 1, autocommit = 1, time_zone = '+00:00'");
	add_timeout(&q, ", wait_timeout = ?", options->idle_timeout_ms);
	add_timeout(&q, ", net_read_timeout = ?", options->net_timeout_ms);
	add_timeout(&q, ", net_write_timeout = ?", options->net_timeout_ms);
	add_timeout(&q, ", innodb_lock_wait_timeout = ?", options->lock_timeout_ms);
	result = db_exec_text(db, purpose, err, q.text, q.length);
	sql_finish(&q);
	if (result == DB_OK)
		result = db_exec(db, purpose, err, "SET NAMES utf8mb4");
	if (result == DB_OK)
		result = db_exec(
			db, purpose, err, "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED");
	return result;
}

static void note_version(struct db *db)
{
	const char *version = db_text(db, 1, NULL);
	unsigned long numbers[3] = {0};
	char *end = (char *)version;

	for (int i = 0; i < 3 && isdigit((unsigned char)*end); i++) {
		numbers[i] = strtoul(end, &end, 10);
		end += *end == '.';
	}
	db->is_mariadb = strstr(version, "MariaDB") != NULL;
	db->version = numbers[0] * 10000 + numbers[1] * 100 + numbers[2];
	snprintf(db->server, sizeof(db->server), "%s %lu.%lu.%lu",
		db->is_mariadb ? "MariaDB" : "MySQL", numbers[0], numbers[1], numbers[2]);
}

/* What the server is, and whether it lets us do what a flush needs. */
static enum db_result check_server(struct db *db, const char *purpose, struct error *err)
{
	bool infile_off = false, splitting = false;
	enum db_result result = db_query(db, purpose, err,
		"SHOW SESSION VARIABLES WHERE Variable_name IN "
		"('version', 'local_infile', 'wsrep_load_data_splitting')");

	if (result != DB_OK)
		return result;
	while (db_next(db)) {
		const char *name = db_text(db, 0, NULL);
		bool on = strcmp(db_text(db, 1, NULL), "ON") == 0;

		if (strcmp(name, "version") == 0)
			note_version(db);
		else if (strcmp(name, "local_infile") == 0)
			infile_off = !on;
		else
			splitting = on;
	}
	result = db_end(db, err);
	if (result != DB_OK || !db->options.local_infile)
		return result;
	if (infile_off)
		return db_refuse(db, err, "%s: local_infile is OFF; %s", purpose,
			db_errors_remedy(3948, "HY000"));
	if (splitting)
		return db_refuse(db, err,
			"%s: wsrep_load_data_splitting is ON, so that a LOAD DATA is not one "
			"transaction; "
			"SET GLOBAL wsrep_load_data_splitting=OFF on the server",
			purpose);
	return DB_OK;
}

enum db_result db_connect(struct db *db, struct error *err)
{
	const struct db_options *options = &db->options;
	char purpose[512];
	enum db_result result;

	if (options->socket[0])
		snprintf(purpose, sizeof(purpose), "connecting to MySQL at %s", options->socket);
	else
		snprintf(purpose, sizeof(purpose), "connecting to MySQL at %s:%d", options->host,
			(int)options->port);
	if (options->tls_ca[0])
		snprintf(purpose + strlen(purpose), sizeof(purpose) - strlen(purpose),
			" by TLS (mysql.tls_ca %s)", options->tls_ca);
	db_disconnect(db);
	if (db_is_interrupted(db))
		return db_given_up(db, purpose, err);
	result = open_connection(db, purpose, err);
	if (result == DB_OK)
		result = set_session(db, purpose, err);
	if (result == DB_OK)
		result = check_server(db, purpose, err);
	if (result != DB_OK)
		db_disconnect(db);
	return result;
}

enum db_result db_ping(struct db *db, struct error *err)
{
	static const char purpose[] = "keeping the connection alive";

	if (!db->mysql)
		return db_not_connected(db, purpose, err);
	return mysql_ping(db->mysql) == 0 ? DB_OK : db_failed(db, purpose, err);
}

enum db_result db_ensure(struct db *db, struct error *err)
{
	int64_t silence_ms = db_now_ms() - db->used_ms;

	if (!db->mysql)
		return db_connect(db, err);
	if (!db->options.idle_timeout_ms || silence_ms < db->options.idle_timeout_ms / 2)
		return DB_OK;
	return db_ping(db, err) == DB_OK ? DB_OK : db_connect(db, err);
}

const char *db_server(const struct db *db)
{
	return db->server;
}

bool db_is_mariadb(const struct db *db)
{
	return db->is_mariadb;
}

unsigned long db_server_version(const struct db *db)
{
	return db->version;
}
