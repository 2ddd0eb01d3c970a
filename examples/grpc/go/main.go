// Command weir-client calls a model over gRPC. WEIR_GRPC is the address of the gRPC port, WEIR_KEY the key, WEIR_MODEL the alias.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	chatv1 "example.com/weir-client/gen/weir/chat/v1"
)

func main() {
	if err := run(); err != nil {
		log.Fatal(err)
	}
}

func run() error {
	// credentials.NewTLS where the port has a certificate.
	conn, err := grpc.NewClient(setting("WEIR_GRPC", "127.0.0.1:8788"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer conn.Close()

	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+os.Getenv("WEIR_KEY"))
	hello := &chatv1.Part{Content: &chatv1.Part_Text{Text: &chatv1.Text{Text: "Hello"}}}
	replies, err := chatv1.NewChatServiceClient(conn).Generate(ctx, &chatv1.GenerateRequest{
		Model:    setting("WEIR_MODEL", "weir-demo"),
		Messages: []*chatv1.Message{{Role: chatv1.Role_ROLE_USER, Parts: []*chatv1.Part{hello}}},
	})
	if err != nil {
		return err
	}
	for {
		reply, err := replies.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if delta := reply.GetEvent().GetDelta(); delta != nil {
			fmt.Print(delta.GetText())
		}
		if end := reply.GetEvent().GetEnd(); end != nil {
			fmt.Printf("\n%d tokens of output\n", end.GetUsage().GetOutputTokens())
		}
	}
}

func setting(name, byDefault string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return byDefault
}
