// Sends events with the Go logger of the Fluentd project and waits for their acknowledgements: PORT CLIENT COUNT.
package main

import (
	"fmt"
	"log"
	"os"
	"strconv"
	"time"

	"github.com/fluent/fluent-logger-golang/fluent"
)

func main() {
	port, err := strconv.Atoi(os.Args[1])
	check(err)
	count, err := strconv.Atoi(os.Args[3])
	check(err)
	logger, err := fluent.New(fluent.Config{
		FluentHost: "127.0.0.1", FluentPort: port, RequestAck: true, SubSecondPrecision: true,
		ReadTimeout: 10 * time.Second,
	})
	check(err)
	for n := 0; n < count; n++ {
		record := map[string]interface{}{"message": fmt.Sprintf("line %d", n), "n": n}
		check(logger.PostWithTime("live."+os.Args[2], time.Now(), record))
	}
	check(logger.Close())
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
