-- Events that an application writes in its own transaction, and that `outboxd` sends to Kafka.
--
-- A JSON column stores numbers as doubles on MySQL: amounts belong in strings.

CREATE TABLE IF NOT EXISTS outbox_events (
	id            BIGINT NOT NULL AUTO_INCREMENT,
	event_id      VARCHAR(64) NOT NULL,
	topic         VARCHAR(249) NOT NULL,
	partition_key VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NULL,
	payload       JSON NOT NULL,
	status        ENUM('PENDING', 'SENT', 'FAILED') NOT NULL DEFAULT 'PENDING',
	created_at    DATETIME(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3),
	sent_at       DATETIME(3) NULL,
	PRIMARY KEY (id),
	UNIQUE KEY event_id (event_id),
	KEY status_id (status, id)
) ENGINE=InnoDB DEFAULT CHARSET=ascii COLLATE=ascii_bin;
