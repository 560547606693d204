"""One file a version of the tables; a file that was released is not changed any more."""
