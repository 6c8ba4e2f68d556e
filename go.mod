module github.com/cofredb/cofre

go 1.26
