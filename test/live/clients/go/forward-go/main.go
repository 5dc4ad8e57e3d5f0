// Sends events with IBM's Go client in all modes of the protocol, and waits for their acknowledgements: PORT CLIENT
// COUNT. With a name that ends in "-key", after a handshake; it does that without users, whatever it is given.
package main

import (
	"fmt"
	"log"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/IBM/fluent-forward-go/fluent/client"
	"github.com/IBM/fluent-forward-go/fluent/protocol"
)

func main() {
	count, err := strconv.Atoi(os.Args[3])
	check(err)
	options := client.ConnectionOptions{
		Factory:           &client.ConnFactory{Address: "127.0.0.1:" + os.Args[1]},
		RequireAck:        true,
		ConnectionTimeout: 10 * time.Second,
	}
	if strings.HasSuffix(os.Args[2], "-key") {
		options.AuthInfo = client.AuthInfo{SharedKey: []byte("live key")}
	}
	c := client.New(options)
	check(c.Connect())
	if !c.TransportPhase() {
		check(c.Handshake())
	}
	tag := "live." + os.Args[2]
	for n := 0; n < count; n++ {
		record := map[string]interface{}{"message": fmt.Sprintf("line %d", n), "n": n}
		entries := protocol.EntryList{{Timestamp: protocol.EventTime{Time: time.Now()}, Record: record}}
		switch n % 5 {
		case 0:
			check(c.SendMessage(tag, record))
		case 1:
			check(c.SendMessageExt(tag, record))
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

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
