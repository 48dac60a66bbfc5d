"""What the page *Modalities* shows, without the page: what is read of rows and stored scores, tables, pictures."""
