-- What a file's columns were taken for and what was passed over in it, for the load protocol: {columns, missing, notes}. Titles that only
-- the sender knows are not in it: they may be people's names. NULL until the file is checked.
ALTER TABLE list_files ADD COLUMN outline jsonb;
