import "htmx.org";
import { startAsking } from "./ask.js";
import { startCopying } from "./copy.js";
import { startLive } from "./live.js";
import { startTimes } from "./times.js";

startAsking();
startCopying();
startLive();
startTimes();
