/*
 * The rows of a flush as LOAD DATA LOCAL takes them.
 *
 *     CHARACTER SET binary FIELDS TERMINATED BY '\t' ESCAPED BY '\\' LINES TERMINATED BY '\n'
 *
 * An encoder walks a closed batch and hands out its rows as text, piece by piece, into whatever
 * room the client library offers; a row, even one escaped byte, may be cut anywhere.  NULL is \N,
 * the bytes NUL, tab, newline and backslash are escaped, decimals have no trailing zeros, times are
 * DATETIME(3) in UTC.
 *
 * Pure; it allocates nothing, and the batch stays the caller's.  It does not send, and it does not
 * count what the server took.
 */
#ifndef CONSUMER_ENCODE_H
#define CONSUMER_ENCODE_H

#include "datetime.h"
#include "store.h"

/* The columns of the rows, in their order: for the statement that takes them. */
#define ENCODE_JOURNAL_COLUMNS                                                                     \
	"kafka_partition,kafka_offset,transaction_id,account_id,currency_code,type,amount,"        \
	"available_after,frozen_after,status,reason,event_time,prev_offset"
#define ENCODE_BALANCES_COLUMNS                                                                    \
	"account_id,currency_code,available,frozen,version,kafka_partition,last_offset,updated_at"
#define ENCODE_DEAD_LETTERS_COLUMNS                                                                \
	"kafka_partition,kafka_offset,reason,detail,message_key,message_value,message_headers,"    \
	"message_time,created_at"

/* Longer than a row of the journal or of balances, and than any piece of a dead letter that is not
 * the message's own bytes. */
#define ENCODE_PIECE_MAX 512

struct encoder {
	const struct batch *batch;
	enum store_table table;
	size_t next; /* the record, or touched balance, after the one under way */
	size_t rows; /* begun so far */
	char partition[12];
	size_t partition_length;
	int64_t second; /* of the time that was last written, and its text */
	char time[DATETIME_LENGTH];
	/* A dead letter under way: */
	const struct record *letter;
	int part;        /* of the row, to be written next */
	const char *raw; /* bytes that are still to be escaped */
	size_t raw_length;
	/* What did not fit the reader's room: */
	char spill[ENCODE_PIECE_MAX];
	size_t spill_begin;
	size_t spill_end;
};

/* How many rows of a table a closed batch has. */
size_t encode_rows(const struct batch *b, enum store_table table);

/* Begins with the first row.  Request and batch stay as they are until the last read. */
void encode_init(struct encoder *enc, const struct flush_request *request, enum store_table table);

/* Writes the next bytes to buffer, as many as fit; size >= 1.  0: that was all. */
size_t encode_read(struct encoder *enc, char *buffer, size_t size);

#endif
