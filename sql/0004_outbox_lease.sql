-- Which relay sends the rows of outbox_events, by this server's clock (UTC, microseconds): one row.

CREATE TABLE IF NOT EXISTS outbox_lease (
	id          TINYINT NOT NULL,           -- 1
	holder      VARCHAR(128) NOT NULL DEFAULT '',
	epoch       BIGINT NOT NULL DEFAULT 0,  -- grows with every acquisition
	acquired_at DATETIME(6) NULL,           -- NULL: never held
	expires_at  DATETIME(6) NULL,
	PRIMARY KEY (id)
) ENGINE=InnoDB DEFAULT CHARSET=ascii COLLATE=ascii_bin;

INSERT IGNORE INTO outbox_lease (id) VALUES (1);
