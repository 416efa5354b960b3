"""What machines do to Learnback: brokers, disks, databases, clocks and groups fail, for a while."""
