#include "servers.h"

#include <inttypes.h>
#include <stdio.h>

void servers_db_options(const struct config *cfg, struct db_options *ret_options)
{
	*ret_options = (struct db_options){
		.host = cfg->mysql.host,
		.port = cfg->mysql.port,
		.socket = cfg->mysql.socket,
		.user = cfg->mysql.user,
		.password = cfg->mysql.password,
		.database = cfg->mysql.database,
		.tls_ca = cfg->mysql.tls_ca,
		.tls_verify = cfg->mysql.tls_verify,
		.local_infile = true,
		.connect_timeout_ms = cfg->mysql.connect_timeout_ms,
	};
}

void servers_db_name(const struct config *cfg, char *text, size_t size)
{
	if (cfg->mysql.socket[0])
		snprintf(text, size, "%s", cfg->mysql.socket);
	else
		snprintf(text, size, "%s:%" PRId64, cfg->mysql.host, cfg->mysql.port);
}
