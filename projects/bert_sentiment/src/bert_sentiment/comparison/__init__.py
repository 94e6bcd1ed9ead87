"""Models side by side: on one data set, across data sets, and with fewer labels."""
