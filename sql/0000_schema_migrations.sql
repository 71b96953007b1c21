-- Which of these files were applied.  `ledgerd migrate` runs this one first, every time.
--
-- applied_at is NULL while a migration is being applied, and stays NULL if it failed midway.

CREATE TABLE IF NOT EXISTS schema_migrations (
	number     INT NOT NULL,
	name       VARCHAR(64) NOT NULL,
	checksum   CHAR(64) NOT NULL,   -- SHA-256 of the file, in hexadecimal
	applied_at DATETIME(3) NULL,
	PRIMARY KEY (number)
) ENGINE=InnoDB DEFAULT CHARSET=ascii COLLATE=ascii_bin;
