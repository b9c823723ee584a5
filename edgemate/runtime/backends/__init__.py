"""What runs the graphs: one folder or file per inference library, each imported only when it is used."""
