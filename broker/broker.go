package broker

// Broker is one Kafka broker.
type Broker struct{}
