-- The ledger: what is committed together, in one transaction a flush.
--
-- Ids, currencies and the like are ASCII compared byte by byte: with a case-insensitive collation
-- `abc` and `ABC` would be one transaction.

-- What this database belongs to.  One row.
CREATE TABLE IF NOT EXISTS ledger_meta (
	id               TINYINT NOT NULL DEFAULT 1,
	kafka_cluster_id VARCHAR(64) NULL,    -- NULL until the first `ledgerd run`
	topic            VARCHAR(249) NULL,
	partitions       INT NULL,
	partitioner      VARCHAR(16) NOT NULL DEFAULT 'murmur2',
	schema_version   INT NOT NULL DEFAULT 0,
	dedupe_key       BINARY(16) NOT NULL, -- SipHash key of the ids in memory
	created_at       DATETIME(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3),
	PRIMARY KEY (id),
	CONSTRAINT ledger_meta_one_row CHECK (id = 1)
) ENGINE=InnoDB DEFAULT CHARSET=ascii COLLATE=ascii_bin;

INSERT IGNORE INTO ledger_meta (id, dedupe_key) VALUES (1, RANDOM_BYTES(16));

-- How far each partition's log is in the tables below; its row is locked by every flush.
CREATE TABLE IF NOT EXISTS partition_offsets (
	kafka_partition INT NOT NULL,
	epoch           BIGINT NOT NULL DEFAULT 0, -- of the lease that may write
	next_offset     BIGINT NOT NULL DEFAULT 0, -- first offset that is not in this database yet
	redis_offset    BIGINT NOT NULL DEFAULT 0, -- what changed below it has reached Redis
	halted_reason   VARCHAR(1000) CHARACTER SET utf8mb4 NULL,
	updated_at      DATETIME(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3),
	PRIMARY KEY (kafka_partition)
) ENGINE=InnoDB DEFAULT CHARSET=ascii COLLATE=ascii_bin;

CREATE TABLE IF NOT EXISTS account_balances (
	account_id      BIGINT NOT NULL,
	currency_code   VARCHAR(10) NOT NULL,
	available       DECIMAL(36,18) NOT NULL,
	frozen          DECIMAL(36,18) NOT NULL,
	version         BIGINT NOT NULL, -- changes so far
	kafka_partition INT NOT NULL,
	last_offset     BIGINT NOT NULL, -- newest journal row: where a statement begins
	updated_at      DATETIME(3) NOT NULL,
	PRIMARY KEY (account_id, currency_code)
) ENGINE=InnoDB DEFAULT CHARSET=ascii COLLATE=ascii_bin;

-- The journal, in the order of the log.  The one secondary index has the id first, so that ids which
-- are ordered by time are written at its right edge; an index by account would be written at random.
CREATE TABLE IF NOT EXISTS balance_transactions (
	kafka_partition INT NOT NULL,
	kafka_offset    BIGINT NOT NULL,
	transaction_id  VARCHAR(64) NOT NULL,
	account_id      BIGINT NOT NULL,
	currency_code   VARCHAR(10) NOT NULL,
	type            ENUM('DEPOSIT', 'WITHDRAW', 'FREEZE', 'UNFREEZE', 'SETTLE') NOT NULL,
	amount          DECIMAL(36,18) NOT NULL,
	available_after DECIMAL(36,18) NOT NULL,
	frozen_after    DECIMAL(36,18) NOT NULL,
	status          ENUM('SUCCESS', 'FAILED') NOT NULL,
	reason          ENUM('INSUFFICIENT_AVAILABLE', 'INSUFFICIENT_FROZEN', 'OVERFLOW') NULL,
	event_time      DATETIME(3) NOT NULL,
	prev_offset     BIGINT NULL, -- the row before it of the same account and currency
	PRIMARY KEY (kafka_partition, kafka_offset),
	UNIQUE KEY transaction_account (transaction_id, account_id)
) ENGINE=InnoDB DEFAULT CHARSET=ascii COLLATE=ascii_bin;

-- The journal with the balances before each row.
CREATE OR REPLACE SQL SECURITY INVOKER VIEW balance_statement AS
SELECT
	kafka_partition, kafka_offset, transaction_id, account_id, currency_code, type, amount,
	CAST(CASE
		WHEN status = 'FAILED' THEN available_after
		WHEN type IN ('DEPOSIT', 'UNFREEZE') THEN available_after - amount
		WHEN type IN ('WITHDRAW', 'FREEZE') THEN available_after + amount
		ELSE available_after
	END AS DECIMAL(36,18)) AS available_before,
	CAST(CASE
		WHEN status = 'FAILED' THEN frozen_after
		WHEN type = 'FREEZE' THEN frozen_after - amount
		WHEN type IN ('UNFREEZE', 'SETTLE') THEN frozen_after + amount
		ELSE frozen_after
	END AS DECIMAL(36,18)) AS frozen_before,
	available_after, frozen_after, status, reason, event_time, prev_offset
FROM balance_transactions;

-- Messages that are no events.  The bytes are kept as they came, also where they should be text.
CREATE TABLE IF NOT EXISTS dead_letters (
	kafka_partition INT NOT NULL,
	kafka_offset    BIGINT NOT NULL,
	reason          ENUM('MALFORMED', 'KEY_MISMATCH', 'WRONG_PARTITION', 'ID_CONFLICT') NOT NULL,
	detail          VARCHAR(255) NOT NULL DEFAULT '',
	message_key     LONGBLOB NULL,
	message_value   LONGBLOB NULL,
	message_headers LONGBLOB NULL,    -- JSON text: an array of [name, value]
	message_time    DATETIME(3) NULL, -- Kafka's; NULL if it has none that fits
	created_at      DATETIME(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3),
	redriven_at     DATETIME(3) NULL,
	PRIMARY KEY (kafka_partition, kafka_offset)
) ENGINE=InnoDB DEFAULT CHARSET=ascii COLLATE=ascii_bin;

-- Offsets that a person decided not to process (`ledgerd resume`).
CREATE TABLE IF NOT EXISTS offset_gaps (
	kafka_partition INT NOT NULL,
	from_offset     BIGINT NOT NULL,
	to_offset       BIGINT NOT NULL, -- exclusive
	reason          VARCHAR(1000) CHARACTER SET utf8mb4 NOT NULL,
	created_at      DATETIME(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3),
	PRIMARY KEY (kafka_partition, from_offset)
) ENGINE=InnoDB DEFAULT CHARSET=ascii COLLATE=ascii_bin;
