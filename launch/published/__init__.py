"""What was published, data set by data set and direction by direction, and running it again."""
