-- Who owns which partition, by this server's clock (UTC, microseconds).

CREATE TABLE IF NOT EXISTS leader_locks (
	id           INT NOT NULL,              -- the Kafka partition
	consumer_id  VARCHAR(128) NOT NULL DEFAULT '',
	epoch        BIGINT NOT NULL DEFAULT 0, -- grows with every acquisition
	acquired_at  DATETIME(6) NULL,          -- NULL: never held
	expires_at   DATETIME(6) NULL,
	requested_by VARCHAR(128) NULL,         -- a replay that asks the owner for the partition
	requested_at DATETIME(6) NULL,
	PRIMARY KEY (id)
) ENGINE=InnoDB DEFAULT CHARSET=ascii COLLATE=ascii_bin;

-- The instances that are alive, for sharing the partitions evenly.
CREATE TABLE IF NOT EXISTS leader_members (
	consumer_id VARCHAR(128) NOT NULL,
	partitions  TEXT NOT NULL,        -- those it may own: `all`, or a list such as `0,3`
	expires_at  DATETIME(6) NOT NULL,
	PRIMARY KEY (consumer_id)
) ENGINE=InnoDB DEFAULT CHARSET=ascii COLLATE=ascii_bin;
