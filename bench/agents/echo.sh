#!/bin/sh
# An ACP agent as small as it gets: answers what it must, prints one line (or the file named by FLOOD), changes one file.
id_of() { id=${1#*\"id\":}; id=${id%%[,\}]*}; }
while IFS= read -r line; do
  case $line in
    *'"method":"initialize"'*)
      id_of "$line"
      printf '{"jsonrpc":"2.0","id":%s,"result":{"protocolVersion":1,"agentCapabilities":{},"authMethods":[]}}\n' "$id" ;;
    *'"method":"session/new"'*)
      id_of "$line"
      printf '{"jsonrpc":"2.0","id":%s,"result":{"sessionId":"bench"}}\n' "$id" ;;
    *'"method":"session/prompt"'*)
      id_of "$line"
      if [ -n "$FLOOD" ]; then
        cat "$FLOOD"
      else
        printf '{"jsonrpc":"2.0","method":"session/update","params":{"sessionId":"bench","update":{"sessionUpdate":"agent_message_chunk","content":{"type":"text","text":"echo"}}}}\n'
      fi
      echo echo > echo.txt
      printf '{"jsonrpc":"2.0","id":%s,"result":{"stopReason":"end_turn"}}\n' "$id" ;;
  esac
done
