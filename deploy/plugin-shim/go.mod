module plugin-shim

go 1.21
