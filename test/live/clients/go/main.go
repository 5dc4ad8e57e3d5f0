// Sends events with one of two Go loggers and waits for their acknowledgements: client PORT CLIENT COUNT.
package main

import (
	"fmt"
	"log"
	"os"
	"strconv"
	"time"

	"github.com/IBM/fluent-forward-go/fluent/client"
	"github.com/IBM/fluent-forward-go/fluent/protocol"
	"github.com/fluent/fluent-logger-golang/fluent"
)

func main() {
	port, err := strconv.Atoi(os.Args[1])
	check(err)
	count, err := strconv.Atoi(os.Args[3])
	check(err)
	name := os.Args[2]
	if name == "fluent-logger-golang" {
		official(port, name, count)
	} else {
		ibm(port, name, count)
	}
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func record(n int) map[string]interface{} {
	return map[string]interface{}{"message": fmt.Sprintf("line %d", n), "n": n}
}

func official(port int, name string, count int) {
	logger, err := fluent.New(fluent.Config{
		FluentHost: "127.0.0.1", FluentPort: port, RequestAck: true, SubSecondPrecision: true,
		ReadTimeout: 10 * time.Second,
	})
	check(err)
	for n := 0; n < count; n++ {
		check(logger.PostWithTime("live."+name, time.Now(), record(n)))
	}
	check(logger.Close())
}

// Goes through all modes of the protocol; with "-key" in its name, after a handshake.
func ibm(port int, name string, count int) {
	options := client.ConnectionOptions{
		Factory:           &client.ConnFactory{Address: fmt.Sprintf("127.0.0.1:%d", port)},
		RequireAck:        true,
		ConnectionTimeout: 10 * time.Second,
	}
	if name == "fluent-forward-go-key" {
		options.AuthInfo = client.AuthInfo{SharedKey: []byte("live key"), Username: "agent", Password: "secret"}
	}
	c := client.New(options)
	check(c.Connect())
	if !c.TransportPhase() {
		check(c.Handshake())
	}
	tag := "live." + name
	for n := 0; n < count; n++ {
		entries := protocol.EntryList{{Timestamp: protocol.EventTime{Time: time.Now()}, Record: record(n)}}
		switch n % 5 {
		case 0:
			check(c.SendMessage(tag, record(n)))
		case 1:
			check(c.SendMessageExt(tag, record(n)))
		case 2:
			check(c.SendForward(tag, entries))
		case 3:
			check(c.SendPacked(tag, entries))
		default:
			check(c.SendCompressed(tag, entries))
		}
	}
	check(c.Disconnect())
}
