/* What a `replay` found, as a table for people or as JSON for programs. */
#ifndef CONSUMER_REPLAY_REPORT_H
#define CONSUMER_REPLAY_REPORT_H

#include <stdio.h>

#include "replay.h"

#define REPLAY_REPORT_ROWS 40 /* of the table; JSON has all */

/* What is to be done, or was to be done; when the replay is resolved. */
void replay_report_print(const struct replay *r, FILE *file);

/* Everything, after the end; also of one that failed. */
void replay_report_json(const struct replay *r, FILE *file);

/* "12 journal rows restored, ..." for the last line and the log. */
void replay_report_written(const struct replay *r, char *text, size_t size);

#endif
