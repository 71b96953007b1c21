/* See who.h. */
#include "who.h"

#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const char *user_name(char number[24])
{
	const char *caller = getenv("SUDO_USER");
	const struct passwd *entry;

	if (geteuid() == 0 && caller && *caller)
		return caller;
	entry = getpwuid(geteuid());
	if (entry)
		return entry->pw_name;
	snprintf(number, 24, "uid-%u", (unsigned)geteuid());
	return number;
}

const char *who_text(char text[WHO_MAX])
{
	char number[24];
	char host[64] = "";

	gethostname(host, sizeof host - 1);
	snprintf(text, WHO_MAX, "%.60s@%s", user_name(number), host);
	return text;
}
