"""The pages: a file each with a TITLE, an ICON and a function `page`; `dashboard.pages` lists them."""
