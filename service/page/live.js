// The live camera: pictures go to the service over a WebSocket, and faces come back.
import { storedKey } from "./api.js";
import { make } from "./dom.js";

const WIDTH = 640;

/** Send the pictures of a video element; `show` gets the faces of each, and its size. Returns a function that stops it. */
export function watch(video, show, ended) {
  const address = new URL("/stream?embeddings=true", location.href);
  address.protocol = address.protocol.replace("http", "ws");
  const key = storedKey();
  const socket = new WebSocket(address, key ? ["mien", `mien.key.${key}`] : ["mien"]);
  const canvas = make("canvas");
  const open = () => socket.readyState === WebSocket.OPEN;
  const send = () => {
    const scale = Math.min(1, WIDTH / video.videoWidth);
    canvas.width = Math.round(video.videoWidth * scale);
    canvas.height = Math.round(video.videoHeight * scale);
    canvas.getContext("2d").drawImage(video, 0, 0, canvas.width, canvas.height);
    canvas.toBlob((blob) => open() && socket.send(blob), "image/jpeg", 0.8);
  };
  let stopped = false;
  socket.onopen = send;
  socket.onmessage = ({ data }) => {
    if (!open() || stopped) return;
    show(JSON.parse(data).faces, canvas);
    send(); // the next picture is sent when an answer has come, so the service sets the pace
  };
  socket.onclose = () => stopped || ended();
  return () => {
    stopped = true;
    socket.close();
  };
}
