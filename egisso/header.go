package egisso

// Header is one header of a Kafka record.
type Header struct {
	Key   string
	Value []byte
}
