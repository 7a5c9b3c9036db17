"""The page of --html: one file that holds its pictures, styles and script, and fetches nothing."""
