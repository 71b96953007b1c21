/*
 * Who runs this command, for the log and for rows that say who did something: "alice@host".  Under
 * sudo it is the one who called sudo.
 */
#ifndef COMMON_WHO_H
#define COMMON_WHO_H

#define WHO_MAX 128 /* with the NUL */

/* Writes into `text` and returns it; a user without a name is its number.  Not thread-safe. */
const char *who_text(char text[WHO_MAX]);

#endif
