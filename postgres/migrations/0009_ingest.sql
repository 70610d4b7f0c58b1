-- What a file's columns were taken for and what was passed over in it, for the load protocol: {columns, missing, notes}. Titles are the
-- sender's; a title that could be a person's is masked. NULL until the file is checked.
ALTER TABLE list_files ADD COLUMN outline jsonb;
