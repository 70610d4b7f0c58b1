package main

import (
	"net/netip"

	"ekc/catalog"
)

// Config is the whole configuration file. The reference in docs/config.md is made from the tags of these structs: yaml names a key,
// default is what holds when it is absent, doc says meaning and unit, and env:"-" keeps a key out of the environment. Every other key
// is overridden by EKC_ and its path: EKC_HTTP_ADDR, EKC_SMSC_<NAME>_PASSWORD.
type Config struct {
	HTTP         HTTPConfig          `yaml:"http" doc:"The HTTP door: API, health, metrics."`
	Database     DatabaseConfig      `yaml:"database" doc:"PostgreSQL 15 or newer."`
	Kafka        KafkaConfig         `yaml:"kafka" doc:"The feed of lists. Without brokers nothing is read."`
	SMSC         []SMSCConfig        `yaml:"smsc" doc:"Accounts at SMS centres, one entry each."`
	SIP          SIPConfig           `yaml:"sip" doc:"The telephone network. Read and checked; nothing uses it yet."`
	Voice        VoiceConfig         `yaml:"voice" doc:"Text to speech. Read and checked; nothing uses it yet."`
	ASV          ASVConfig           `yaml:"asv" doc:"The hand-off to АСВ. Read and checked; nothing uses it yet."`
	Catalog      CatalogConfig       `yaml:"catalog" doc:"What may be said. Everything else about it is data."`
	Keyset       Secret              `yaml:"keyset" doc:"The key set that seals personal data: the path of the file that 'ekc keys init' makes, or its content. Without it what is in the database cannot be read."`
	AdminKey     Secret              `yaml:"admin_key" doc:"A key that makes one account with role security_admin, and is refused from then on. Meant for the environment: EKC_ADMIN_KEY."`
	StateDir     string              `yaml:"state_dir" default:"/var/lib/ekc" doc:"Folder that outlives the process and the database: how far the journal was seen to go, and under inbox/ the watched folders of sources."`
	DrainTimeout Duration            `yaml:"drain_timeout" default:"30s" doc:"How long messages on the wire and requests may finish once the process is told to stop."`
	Auth         AuthConfig          `yaml:"auth" doc:"JWT beside our own keys. Read and checked; nothing uses it yet."`
	Pilot        PilotConfig         `yaml:"pilot" doc:"A trial with few people."`
	Retention    map[string]Duration `yaml:"retention" doc:"How long data of a kind is kept, by kind. Read and checked; nothing uses it yet."`
	Webhooks     WebhooksConfig      `yaml:"webhooks" doc:"Addresses that outcomes are posted to. Which ones there are is said by /v1/webhooks."`
	Alerts       AlertsConfig        `yaml:"alerts" doc:"Where alarms go. Read and checked; nothing uses it yet."`
	Log          LogConfig           `yaml:"log" doc:"The log goes to standard error."`
}

// HTTPConfig is the HTTP door.
type HTTPConfig struct {
	Addr            string     `yaml:"addr" default:"127.0.0.1:8080" doc:"host:port to listen on; port 0 takes a free one."`
	TLS             *ServerTLS `yaml:"tls" doc:"Certificate of the door. Without it the door is plain HTTP."`
	InsecureBecause string     `yaml:"insecure_because" doc:"Why this door is outside loopback without TLS, such as a proxy in front of it. Without this sentence the start refuses."`
	UploadLimitMB   int        `yaml:"upload_limit_mb" default:"200" doc:"The largest file that can be uploaded, in megabytes."`
}

// ServerTLS is our own certificate.
type ServerTLS struct {
	Cert string `yaml:"cert" doc:"PEM file with the certificate and its chain."`
	Key  string `yaml:"key" doc:"PEM file with the private key."`
}

// ClientTLS is TLS of a connection we open. An empty one, {}, is TLS with the system's certificates.
type ClientTLS struct {
	CA         string `yaml:"ca" doc:"PEM file with the certificates trusted instead of the system's."`
	ServerName string `yaml:"server_name" doc:"Name the certificate must be for; the host of the address when empty."`
	Cert       string `yaml:"cert" doc:"PEM file with our certificate, if the far side asks for one."`
	Key        string `yaml:"key" doc:"PEM file with its private key."`
}

// DatabaseConfig says which database.
type DatabaseConfig struct {
	URL             DatabaseURL `yaml:"url" doc:"postgres://user:password@host:5432/name?sslmode=verify-full, or the keyword form of libpq. serve does not start without it."`
	InsecureBecause string      `yaml:"insecure_because" doc:"Why the database is outside loopback without sslmode=require or stricter. Without this sentence the start refuses."`
}

// KafkaConfig is the feed.
type KafkaConfig struct {
	Brokers         []string   `yaml:"brokers" doc:"host:port of the brokers."`
	TLS             *ClientTLS `yaml:"tls" doc:"TLS to the brokers; {} is TLS with the system's certificates."`
	InsecureBecause string     `yaml:"insecure_because" doc:"Why the brokers are outside loopback without TLS."`
	SASL            SASLConfig `yaml:"sasl" doc:"Who we are to the brokers."`
	Group           string     `yaml:"group" default:"ekc" doc:"Beginning of the names of consumer groups: each topic is read by a group of its own, this name, a dot and the topic's."`
	Topics          []string   `yaml:"topics" doc:"Read only these topics of the catalogue's sources; empty reads all of them."`
}

// SASLConfig is a Kafka login.
type SASLConfig struct {
	Mechanism string `yaml:"mechanism" doc:"plain, scram-sha-256 or scram-sha-512." oneof:"plain,scram-sha-256,scram-sha-512"`
	Username  string `yaml:"username" doc:"User."`
	Password  Secret `yaml:"password" doc:"Password."`
}

// SMSCConfig is one account at an SMS centre.
type SMSCConfig struct {
	Name               string              `yaml:"name" env:"-" doc:"The link's name in history, metrics, stops and in EKC_SMSC_<NAME>_…: small letters, digits, - and _."`
	Pool               string              `yaml:"pool" doc:"SMSCs of one pool stand in for each other. One process at a time has a pool. Empty: a pool of its own, named as the link."`
	Addr               string              `yaml:"addr" doc:"host:port of the SMS centre."`
	TLS                *ClientTLS          `yaml:"tls" doc:"TLS to the SMS centre; {} is TLS with the system's certificates."`
	InsecureBecause    string              `yaml:"insecure_because" doc:"Why this address is outside loopback without TLS, such as a VPN to the operator. Without this sentence the start refuses."`
	SystemID           string              `yaml:"system_id" doc:"As the operator gave it, at most 15 characters."`
	Password           Secret              `yaml:"password" doc:"At most 8 characters (SMPP 3.4 §5.2.2). Meant for the environment."`
	SystemType         string              `yaml:"system_type" doc:"At most 12 characters; mostly empty."`
	Bind               string              `yaml:"bind" default:"trx" oneof:"trx,tx+rx" doc:"trx binds transceivers, tx+rx pairs of a transmitter and a receiver."`
	Binds              int                 `yaml:"binds" default:"1" doc:"How many transceivers, or pairs, at once."`
	Window             int                 `yaml:"window" default:"10" doc:"submit_sm of one bind that may wait for their response."`
	Rate               int                 `yaml:"rate" doc:"Segments a second the operator allows, all binds together. 0: only the windows limit."`
	EnquireLink        Duration            `yaml:"enquire_link" default:"30s" doc:"Time between enquire_link on each bind, 10s or more."`
	ResponseTimeout    Duration            `yaml:"response_timeout" default:"30s" doc:"How long a response is waited for; after that a message is uncertain."`
	ServiceType        string              `yaml:"service_type" doc:"service_type of each submit_sm, at most 5 characters."`
	Senders            []SenderConfig      `yaml:"senders" doc:"Numbers and names we may send from on this account, one entry each."`
	DestTON            int                 `yaml:"dest_ton" default:"1" doc:"Type of number of destinations; 1 is international (SMPP 3.4 §5.2.5)."`
	DestNPI            int                 `yaml:"dest_npi" default:"1" doc:"Numbering plan of destinations; 1 is ISDN (SMPP 3.4 §5.2.6)."`
	UCS2Coding         int                 `yaml:"ucs2_coding" default:"8" doc:"data_coding of UCS-2: 8, at some SMS centres 2."`
	LongText           string              `yaml:"long_text" default:"udh" oneof:"udh,sar,payload" doc:"How a text of several segments is written: user data header, sar_ parameters, message_payload."`
	RegisteredDelivery int                 `yaml:"registered_delivery" default:"1" doc:"registered_delivery of each submit_sm (SMPP 3.4 §5.2.17); 1 asks for a receipt of success and failure."`
	MessageIDBase      string              `yaml:"message_id_base" default:"auto" oneof:"auto,hex,dec" doc:"hex: message_id is hexadecimal in responses and decimal in receipts. auto finds out by itself."`
	ReceiptTimeZone    string              `yaml:"receipt_time_zone" default:"UTC" doc:"Zone of the dates in receipts and of an absolute validity, such as Europe/Moscow."`
	Validity           string              `yaml:"validity" default:"relative" oneof:"relative,absolute" doc:"How validity_period is written (SMPP 3.4 §7.1.1)."`
	ErrorMap           map[string]string   `yaml:"error_map" doc:"The account's own reading of codes: 'ESME_RSUBMITFAIL: permanent invalid_number', 'err 219: sim_replaced'."`
	Unrecorded         int                 `yaml:"unrecorded" doc:"The most messages that may have left and not be recorded: what one crash can double. 0: twice the windows of all binds."`
	Routes             []string            `yaml:"routes" doc:"Codes of the agencies whose messages this SMSC's pool carries. Empty: all that no other pool names."`
	Maintenance        []MaintenanceConfig `yaml:"maintenance" doc:"Agreed hours in which the link may be down without an alarm, one entry each."`
}

// SenderConfig is a source address.
type SenderConfig struct {
	Name   string `yaml:"name" doc:"Number or alphanumeric name as registered with the operator."`
	Agency string `yaml:"agency" doc:"Code of the agency that speaks under it; empty is all that have none of their own."`
	TON    int    `yaml:"ton" default:"5" doc:"Type of number: 5 alphanumeric, 3 network specific (short number), 1 international."`
	NPI    int    `yaml:"npi" doc:"Numbering plan: 0 for names and short numbers, 1 for telephone numbers."`
	TwoWay bool   `yaml:"two_way" doc:"People can answer it."`
}

// MaintenanceConfig is a recurring span of time.
type MaintenanceConfig struct {
	Days []catalog.Weekday `yaml:"days" doc:"mon … sun; empty is every day."`
	From catalog.Clock     `yaml:"from" doc:"hh:mm, Moscow time."`
	To   catalog.Clock     `yaml:"to" doc:"hh:mm, Moscow time, later than from."`
}

// SIPConfig is the telephone network.
type SIPConfig struct {
	Listen          string        `yaml:"listen" doc:"host:port of our SIP side."`
	InsecureBecause string        `yaml:"insecure_because" doc:"Why trunks outside loopback are without TLS."`
	MediaIP         string        `yaml:"media_ip" doc:"Address the far side sends audio to."`
	RTPPorts        string        `yaml:"rtp_ports" doc:"Range of UDP ports for audio, 20000-29999."`
	Trunks          []TrunkConfig `yaml:"trunks" doc:"One entry each."`
}

// TrunkConfig is one trunk.
type TrunkConfig struct {
	Name           string `yaml:"name" env:"-" doc:"The link's name."`
	Pool           string `yaml:"pool" doc:"Trunks of one pool stand in for each other."`
	URI            string `yaml:"uri" doc:"sip: or sips: address of the far side."`
	Username       string `yaml:"username" doc:"User."`
	Password       Secret `yaml:"password" doc:"Password."`
	Register       bool   `yaml:"register" doc:"REGISTER with the far side."`
	CallerID       string `yaml:"caller_id" doc:"Number shown on the phone's screen."`
	Label          string `yaml:"label" doc:"Name shown beside it."`
	Category       string `yaml:"category" doc:"Category of the caller as the operator wants it."`
	MaxCalls       int    `yaml:"max_calls" doc:"Calls at once."`
	CallsPerSecond int    `yaml:"calls_per_second" doc:"New calls a second."`
	SRTP           bool   `yaml:"srtp" doc:"Encrypted audio."`
}

// VoiceConfig is text to speech.
type VoiceConfig struct {
	Engine   string `yaml:"engine" doc:"Which engine."`
	Command  string `yaml:"command" doc:"Program to run."`
	URL      string `yaml:"url" doc:"Service to ask."`
	Voice    string `yaml:"voice" doc:"Voice."`
	CacheDir string `yaml:"cache_dir" doc:"Folder of prompts made earlier, sealed."`
}

// ASVConfig is the hand-off.
type ASVConfig struct {
	URL             string `yaml:"url" doc:"https: address of АСВ."`
	InsecureBecause string `yaml:"insecure_because" doc:"Why the address is outside loopback without TLS."`
	Token           Secret `yaml:"token" doc:"Bearer token for АСВ."`
	HMACKey         Secret `yaml:"hmac_key" doc:"Key of the signature of its callbacks."`
	Contract        string `yaml:"contract" doc:"Version of the contract."`
}

// CatalogConfig is about the catalogue's beginning.
type CatalogConfig struct {
	Seed bool `yaml:"seed" default:"true" doc:"At start, write what the product comes with where a code has no version yet."`
}

// AuthConfig is about JWT.
type AuthConfig struct {
	Issuer   string `yaml:"issuer" doc:"iss of tokens."`
	JWKS     string `yaml:"jwks" doc:"https: address of the issuer's keys."`
	Audience string `yaml:"audience" doc:"aud of tokens."`
}

// PilotConfig is a trial.
type PilotConfig struct {
	AllowList []PhoneSetting `yaml:"allow_list" doc:"Only these phones are really sent to; what is for others goes to the built-in simulator, marked. Empty: no trial, everybody is told."`
}

// WebhooksConfig is where webhooks may lead to.
type WebhooksConfig struct {
	Networks []netip.Prefix `yaml:"networks" doc:"Private networks that webhooks may go to, such as 10.7.0.0/16. Empty: public addresses only, and this very machine where the URL names it."`
}

// AlertsConfig is where alarms go.
type AlertsConfig struct {
	Webhook string   `yaml:"webhook" doc:"https: address that is posted to."`
	Email   []string `yaml:"email" doc:"Addresses."`
}

// LogConfig is about the log.
type LogConfig struct {
	Level  string `yaml:"level" default:"info" oneof:"debug,info,warn,error" doc:"The least that is logged."`
	Format string `yaml:"format" default:"json" oneof:"json,text" doc:"json for machines, text for people."`
}
