// Command plugin-shim serves a Go plugin of Edge Stack over HTTP, for a Filter of kind Plugin.
//
//	go build -buildmode=plugin -o my.so ./my-plugin
//	go build -o plugin-shim . && ./plugin-shim -listen :8080 my.so
package main

import (
	"flag"
	"log"
	"net/http"
	"plugin"
	"time"
)

func main() {
	listen := flag.String("listen", ":8080", "address to listen on")
	flag.Parse()
	if flag.NArg() != 1 {
		log.Fatal("usage: plugin-shim [-listen ADDR] PLUGIN.so")
	}
	loaded, err := plugin.Open(flag.Arg(0))
	if err != nil {
		log.Fatal(err)
	}
	symbol, err := loaded.Lookup("PluginMain")
	if err != nil {
		log.Fatal(err)
	}
	handle, ok := symbol.(func(http.ResponseWriter, *http.Request))
	if !ok {
		log.Fatalf("%s: PluginMain is not a func(http.ResponseWriter, *http.Request)", flag.Arg(0))
	}
	server := &http.Server{
		Addr: *listen,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if host := r.Header.Get("X-Forwarded-Host"); host != "" {
				r.Host = host
			}
			handle(w, r)
		}),
		ReadHeaderTimeout: 5 * time.Second,
	}
	log.Fatal(server.ListenAndServe())
}
